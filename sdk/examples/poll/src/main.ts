// /poll asks a question with two buttons and counts the votes, one per user, for as long as this deployment lives.

interface Poll {
  question: string
  votes: Map<string, 'yes' | 'no'>
}

const polls = new Map<string, Poll>()

const poll = slash({
  name: 'poll',
  description: 'Asks a yes-or-no question',
  options: [{ name: 'question', description: 'What to ask', type: 'string', required: true }],
  run: async (ctx) => {
    const id = crypto.randomUUID()
    const fresh: Poll = { question: ctx.options.question, votes: new Map() }
    polls.set(id, fresh)
    await ctx.reply({ content: render(fresh), components: [buttons(id)] })
  },
})

on('componentInteraction', async (ctx) => {
  const [kind, id = '', vote] = ctx.msg.data.custom_id.split(':')
  if (kind !== 'poll') return
  const asked = polls.get(id)
  if (asked === undefined) {
    await ctx.reply({ content: 'This poll is over.', ephemeral: true })
    return
  }
  asked.votes.set(ctx.msg.user.id, vote === 'yes' ? 'yes' : 'no')
  await rest.updateInteractionResponse({
    interactionId: ctx.msg.interactionId,
    token: ctx.msg.interactionToken,
    content: render(asked),
    components: [buttons(id)],
  })
})

function render({ question, votes }: Poll): string {
  const yes = [...votes.values()].filter((vote) => vote === 'yes').length
  return `${question}\nYes ${yes}, no ${votes.size - yes}`
}

function buttons(id: string) {
  const button = (vote: string, label: string, style: number) => ({
    type: ComponentType.Button,
    custom_id: `poll:${id}:${vote}`,
    label,
    style,
  })
  return {
    type: ComponentType.ActionRow,
    components: [button('yes', 'Yes', ButtonStyle.Success), button('no', 'No', ButtonStyle.Danger)],
  }
}

createBot({ slashCommands: [poll] })
