tern_unit_test(test_queue_plan LIBS tern_queue)
tern_unit_test(test_queue_sim LIBS tern_queue)
tern_unit_test(test_scheduler LIBS tern_queue)
