tern_unit_test(test_tables LIBS tern_state)
