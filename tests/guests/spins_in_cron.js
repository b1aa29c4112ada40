// Its cron job never gives control back.
cron('spin', '* * * * *', async () => { while (true) {} })
on('messageCreate', async () => { console.log('fine') })
