// `/wiki <topic>` answers with the first sentences of an article.

interface Summary {
  title: string
  extract: string
  content_urls: { desktop: { page: string } }
}

const wiki = slash({
  name: 'wiki',
  description: 'The first sentences of an article',
  options: [{ name: 'topic', description: 'What about', type: 'string', required: true }],
  run: async (ctx) => ctx.reply(await summaryOf(ctx.options.topic)),
})

async function summaryOf(topic: string) {
  const url = 'https://en.wikipedia.org/api/rest_v1/page/summary/' + encodeURIComponent(topic.replaceAll(' ', '_'))
  try {
    // A handler has three seconds; this leaves one to answer.
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) })
    if (response.status === 404) return { content: `Nothing about ${topic}.`, ephemeral: true }
    if (!response.ok) return { content: `No answer right now (${response.status}).`, ephemeral: true }
    const { title, extract, content_urls }: Summary = await response.json()
    return { embeds: [embed().setTitle(title).setDescription(extract.slice(0, 1000)).setUrl(content_urls.desktop.page)] }
  } catch (error) {
    console.warn('no summary', topic, error)
    return { content: 'That took too long. Try again in a moment.', ephemeral: true }
  }
}

createBot({ slashCommands: [wiki] })
