tern_unit_test(test_queue_plan LIBS tern_queue)
tern_unit_test(test_queue_sim LIBS tern_queue)
set_tests_properties(test_queue_sim PROPERTIES LABELS long TIMEOUT 900)
tern_unit_test(test_scheduler LIBS tern_queue)
