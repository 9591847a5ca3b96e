tern_unit_test(test_rules LIBS tern_server)
tern_unit_test(test_server_parts LIBS tern_server)
tern_unit_test(test_conf LIBS tern_server)
tern_unit_test(test_bind LIBS tern_server)
