tern_unit_test(test_milter LIBS tern_milter)
