tern_unit_test(test_client SOURCES test_client.c client_server.c LIBS tern_delivery)
# It waits most of its time: begun first, it is not what all wait for at the end.
set_tests_properties(test_client PROPERTIES COST 1000)
tern_unit_test(test_client_keys LIBS tern_delivery)
tern_unit_test(test_bounce LIBS tern_delivery)
tern_unit_test(test_dispatch SOURCES test_dispatch.c dispatch_world.c dispatch_fakes.c LIBS tern_delivery)
tern_unit_test(test_delivery_path LIBS tern_delivery)
tern_unit_test(test_owed LIBS tern_delivery)
