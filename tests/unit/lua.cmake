add_library(test_lua_support STATIC ${PROJECT_SOURCE_DIR}/tests/support/fakeapi.c lua_fixture.c)
target_link_libraries(test_lua_support PUBLIC tern_lua tern_config tern_state tern_base)
tern_unit_test(test_lua LIBS test_lua_support)
tern_unit_test(test_lua_limits LIBS test_lua_support)
tern_unit_test(test_lua_pattern LIBS test_lua_support)
tern_unit_test(test_when LIBS test_lua_support)
tern_unit_test(test_lua_docs SOURCES test_lua_docs.c ${PROJECT_SOURCE_DIR}/tests/support/lua_reference.c
               LIBS test_lua_support)
tern_unit_test(test_lua_examples LIBS test_lua_support)
