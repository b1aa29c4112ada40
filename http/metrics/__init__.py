"""Metrics: what every actor counts, read, added up and shown. A reading asks each actor once; nobody waits for one that is away.

    reading     asks the actors                       totals      adds up, so that no counter falls when a process is replaced
    numbers     names of the JSON answer              facts       series about single workers and guilds
    families    all of it, as families of points      exposition  those in Prometheus' formats
    own         what this process counts              otlp, push  those in OpenTelemetry's format, and their way to a receiver

What actors count with labels, and how it is called: `flora.messages.metrics`.
"""
