// Its top level gives control back all the time, and takes it again at once.
while (true) await 0
