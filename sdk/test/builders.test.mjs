// Embeds and components: what they emit, and where they refuse.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Isolate } from './isolate.mjs'

const isolate = new Isolate()
const json = (source) => JSON.parse(isolate.run(`JSON.stringify(${source})`))

test('GIVEN an embed WHEN built THEN its keys are camelCase and all there', () => {
  const built =
    json(`embed({ title: 'old', url: 'u' }).setTitle('t').setDescription('d').setUrl('https://x').setColor(5).setTimestamp('2026-01-01T00:00:00Z')
    .setFooter('f', 'i').setImage('img').setThumbnail('th').setAuthor('a', { iconUrl: 'ai' }).addField('n', 'v').addFields([{ name: 'm', value: 'w', inline: true }])`)
  assert.deepEqual(built, {
    title: 't',
    url: 'https://x',
    description: 'd',
    color: 5,
    timestamp: '2026-01-01T00:00:00Z',
    footer: { text: 'f', iconUrl: 'i' },
    image: { url: 'img' },
    thumbnail: { url: 'th' },
    author: { name: 'a', iconUrl: 'ai' },
    fields: [
      { name: 'n', value: 'v', inline: false },
      { name: 'm', value: 'w', inline: true },
    ],
  })
})

test('GIVEN initial data WHEN the builder goes on THEN the data is not changed', () => {
  assert.deepEqual(
    json(
      "(() => { const base = { fields: [{ name: 'a', value: 'b' }] }; embed(base).addField('c', 'd').setTitle('t'); return base })()",
    ),
    {
      fields: [{ name: 'a', value: 'b' }],
    },
  )
})

test('GIVEN an embed over a limit WHEN built THEN it says which', () => {
  const refused = (source, message) => assert.throws(() => json(source), { name: 'RangeError', message })
  refused("embed().setTitle('x'.repeat(257))", 'embed: title has 257 characters, at most 256 are allowed')
  refused(
    "embed().setFields(Array.from({ length: 26 }, () => ({ name: 'a', value: 'b' })))",
    'embed: fields has 26 items, at most 25 are allowed',
  )
  refused("embed().addField('a', 'x'.repeat(1025))", /fields\[0\]\.value has 1025/)
  refused("embed().setDescription('x'.repeat(4096)).setFooter('x'.repeat(2000))", /6096 characters, at most 6000/)
  assert.equal(json("embed().setTitle('x'.repeat(256))").title.length, 256)
})

test('GIVEN rows, buttons and selects WHEN built THEN they are in the form of Discord', () => {
  assert.deepEqual(
    json(`actionRow().addComponents(
      button().setStyle(ButtonStyle.Danger).setCustomId('c').setLabel('l').setEmoji('x').setDisabled(),
      [button().setUrl('https://x'), button().setSkuId('5')])`),
    {
      type: 1,
      components: [
        { type: 2, style: 4, custom_id: 'c', label: 'l', emoji: 'x', disabled: true },
        { type: 2, url: 'https://x', style: 5 },
        { type: 2, sku_id: '5', style: 6 },
      ],
    },
  )
  assert.deepEqual(
    json(
      "stringSelect('s').setPlaceholder('p').setMinValues(0).setMaxValues(2).setRequired().addOptions({ label: 'a', value: '1' }, { label: 'b', value: '2', default: true })",
    ),
    {
      type: 3,
      custom_id: 's',
      options: [
        { label: 'a', value: '1' },
        { label: 'b', value: '2', default: true },
      ],
      placeholder: 'p',
      min_values: 0,
      max_values: 2,
      required: true,
    },
  )
  assert.deepEqual(
    json("channelSelect('c').setChannelTypes([0]).addDefaultChannel('1').addDefaultValue('2', 'channel')"),
    {
      type: 8,
      custom_id: 'c',
      channel_types: [0],
      default_channels: ['1'],
      default_values: [{ id: '2', type: 'channel' }],
    },
  )
  assert.deepEqual(
    json("[userSelect('u').addDefaultUser('1'), roleSelect('r').setDefaultRoles(['2']), mentionableSelect('m')]"),
    [
      { type: 5, custom_id: 'u', default_users: ['1'] },
      { type: 6, custom_id: 'r', default_roles: ['2'] },
      { type: 7, custom_id: 'm' },
    ],
  )
})

test('GIVEN layout and modal parts WHEN built THEN they are in the form of Discord', () => {
  assert.deepEqual(
    json(`container().setAccentColor(1).setSpoiler().addComponents(
      section().addComponents(textDisplay('t')).setAccessory(thumbnail('u').setDescription('d').setSpoiler()),
      mediaGallery().addItem('a', { spoiler: true }).addItem('b'), file('f').setSpoiler(false), separator().setSpacing('large'), separator(false))`),
    {
      type: 17,
      components: [
        {
          type: 9,
          components: [{ type: 10, content: 't' }],
          accessory: { type: 11, media: { url: 'u' }, description: 'd', spoiler: true },
        },
        { type: 12, items: [{ media: { url: 'a' }, spoiler: true }, { media: { url: 'b' } }] },
        { type: 13, file: { url: 'f' }, spoiler: false },
        { type: 14, divider: true, spacing: 'large' },
        { type: 14, divider: false },
      ],
      accent_color: 1,
      spoiler: true,
    },
  )
  assert.deepEqual(
    json(
      "[label('l').setDescription('d').setComponent(inputText('i').setStyle(InputTextStyle.Paragraph).setMinLength(1).setMaxLength(9).setValue('v').setPlaceholder('p').setRequired(false)), label('x'), fileUpload('f').setMinValues(1).setMaxValues(2).setRequired()]",
    ),
    [
      {
        type: 18,
        label: 'l',
        component: {
          type: 4,
          custom_id: 'i',
          style: 2,
          min_length: 1,
          max_length: 9,
          value: 'v',
          placeholder: 'p',
          required: false,
        },
        description: 'd',
      },
      { type: 18, label: 'x', component: null },
      { type: 19, custom_id: 'f', min_values: 1, max_values: 2, required: true },
    ],
  )
})

test('GIVEN components over a limit WHEN built THEN they say which', () => {
  const refused = (source, message) => assert.throws(() => json(source), { name: 'RangeError', message })
  refused("button().setLabel('x'.repeat(81))", 'ButtonBuilder: label has 81 characters, at most 80 are allowed')
  refused('actionRow()', 'ActionRowBuilder: components has 0 items, 1 to 5 are allowed')
  refused("stringSelect('s').setOptions(new Array(26).fill({ label: 'a', value: 'b' }))", /options has 26 items/)
  refused("container().addComponents(textDisplay(''))", /content has 0 characters, 1 to 4000/)
})

test('GIVEN builders passed as they are WHEN replied with THEN they cross in their form', () => {
  const bot = new Isolate()
  bot.loadAndExtract(
    "on('a', (ctx) => ctx.reply({ embeds: [embed().setTitle('t')], components: [actionRow().addComponents(button().setCustomId('c'))] }))",
  )
  const [{ embeds, components }] = bot.event('a', { channelId: '1' }).o[0][2]
  assert.deepEqual([embeds, components], [[{ title: 't' }], [{ type: 1, components: [{ type: 2, custom_id: 'c' }] }]])
})

test('GIVEN the lazily built builders WHEN looked at THEN global and flora agree and carry their names', () => {
  assert.equal(isolate.run('flora.EmbedBuilder === EmbedBuilder && embed() instanceof EmbedBuilder'), true)
  assert.equal(
    isolate.run('EmbedBuilder.name + SelectMenuBuilderBase.name + embed.name'),
    'EmbedBuilderSelectMenuBuilderBaseembed',
  )
  assert.equal(isolate.run('Object.keys(flora).length'), 56)
})
