"""
Several processes that serve the same listeners, and one that watches over them.

The process that twistd has started is the supervisor.  It opens every socket and accepts nobody.  Workers are processes
of their own, with the whole proxy in each (`worker`): they get the sockets and the configuration through a channel
(`channel`, `frames`), and accept clients from the one queue that each socket has.  So no client is lost when a worker
dies, is replaced, or goes over to another configuration: the queue stays where it is.

`supervisor` is what the process runs in place of the proxy; `crew` keeps the number of workers, each of which it knows
as a `mate`; `exchange` leads all of them from one configuration to the next.
"""
