tern_unit_test(test_tls LIBS tern_tls)
