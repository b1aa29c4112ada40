// Its cron job never gives control back.
cron('spin', '@yearly', async () => { while (true) {} })
on('messageCreate', async () => { console.log('fine') })
