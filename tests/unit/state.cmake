tern_unit_test(test_tables LIBS tern_state)
tern_unit_test(test_kv LIBS tern_state)
tern_unit_test(test_kv_lmdb LIBS tern_state ${CMAKE_DL_LIBS})
add_dependencies(test_kv_lmdb module_kv_lmdb)
