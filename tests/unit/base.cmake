tern_unit_test(test_base LIBS tern_base)
tern_unit_test(test_log_lines LIBS tern_base)
tern_unit_test(test_log_targets LIBS tern_base)
