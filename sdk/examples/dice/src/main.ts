// A project of two files: prefix commands here, the rolling in its own module.
import { roll } from './roll'

const dice = prefix({
  name: 'roll',
  run: async (ctx) => {
    const wanted = ctx.args[0] ?? '1d6'
    const result = roll(wanted)
    await ctx.reply(result === null ? `I cannot roll ${wanted}; try 2d6.` : `${wanted}: ${result.join(' + ')}`)
  },
})

createBot({ prefix: '!', commands: [dice] })
