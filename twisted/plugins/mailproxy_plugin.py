"""`twistd mailproxy`; every start of any twistd reads this file, so it only says where to look."""

from twisted.application.service import ServiceMaker

mailproxy = ServiceMaker(
    "mailproxy",
    "mailproxy.options",
    "An SMTP and POP3 proxy that logs in, over verified TLS, for applications that cannot.",
    "mailproxy",
)
