tern_unit_test(test_base LIBS tern_base)
