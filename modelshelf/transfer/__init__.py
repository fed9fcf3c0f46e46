"""How one file arrives: from a server in parallel ranges, or from this machine's disk; resumable, and proven at its end.

    contract      what arrives (`Span`), and where (`Destination`)
    download      from a server: a range must be the one that was asked for, of content that did not change since
    connections   how many are open at once
    local         from a file of this machine

No source's word is taken for progress; in the end the digest decides. A store needs `contract` alone, and no HTTP client.
"""
