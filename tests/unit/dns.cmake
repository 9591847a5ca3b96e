tern_unit_test(test_dns SOURCES test_dns.c dns_server.c LIBS tern_dns)
tern_unit_test(test_dns_knot LIBS tern_dns)
