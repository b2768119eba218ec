"""`tcpstack bench`: how fast this stack is, beside what is possible on the same machine in the same minute.

A figure alone says more about the machine than about the stack. So whatever is measured here is measured for several
contenders, one after the other, in one arrangement:

    kernel sockets (`peer`, its own namespace, second core) <--- TUN ---> a contender (first core)

    ours       a process with this stack (`ours`)
    loop       the least possible loop: tools/ceilings/loop.py
    forward    another kernel in another namespace, behind a bare forwarder: tools/ceilings/forward.c

`samples` arranges the processes and takes one sample, `figures` says which samples make a figure and its ceiling, and
`report` makes the table and the JSON. All measuring is the peer's, so it is the same for everybody.
"""
