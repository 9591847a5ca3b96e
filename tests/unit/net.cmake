tern_unit_test(test_net LIBS tern_net)
tern_unit_test(test_conn LIBS tern_net)
tern_unit_test(test_proxy LIBS tern_net)
