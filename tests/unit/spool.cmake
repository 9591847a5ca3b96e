tern_unit_test(test_spool LIBS tern_spool)
