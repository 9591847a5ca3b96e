# Loader, policies, plans.
add_subdirectory(bad_modules)
tern_unit_test(test_loader SOURCES test_loader.c policy_fixture.c LIBS tern_module)
target_compile_definitions(test_loader PRIVATE
  TERN_BAD_MODULE_DIR="${CMAKE_CURRENT_BINARY_DIR}/bad_modules")
add_dependencies(test_loader test_bad_modules module_routes module_rcpt_limit module_hello)
tern_unit_test(test_policy SOURCES test_policy.c policy_fixture.c LIBS tern_module)
tern_unit_test(test_routes SOURCES test_routes.c fake_call.c policy_fixture.c LIBS tern_module)
add_dependencies(test_routes module_routes module_rcpt_limit module_hello)
tern_unit_test(test_new LIBS tern_lua tern_module
  SOURCES test_new.c policy_fixture.c ${PROJECT_SOURCE_DIR}/core/cli/new.c)
target_compile_definitions(test_new PRIVATE # as if it were installed
  TERN_INSTALL_INCLUDE_DIR="${PROJECT_SOURCE_DIR}/core/include" TERN_INSTALL_MODULE_DIR="/opt/there/tern/modules")
# The engine: calls, chains, groups, records.
set(engine_fixture engine_fixture.c ${PROJECT_SOURCE_DIR}/tests/support/testplan.c)
tern_unit_test(test_engine SOURCES test_engine.c ${engine_fixture} LIBS tern_module dep::jansson)
tern_unit_test(test_engine_auth SOURCES test_engine_auth.c ${engine_fixture} LIBS tern_module)
tern_unit_test(test_engine_message SOURCES test_engine_message.c ${engine_fixture} LIBS tern_module)
tern_unit_test(test_header_changes LIBS tern_module)
tern_unit_test(test_engine_rules SOURCES test_engine_rules.c ${engine_fixture} LIBS tern_module)
tern_unit_test(test_engine_vrfy SOURCES test_engine_vrfy.c ${engine_fixture} LIBS tern_module)
tern_unit_test(test_engine_enqueue SOURCES test_engine_enqueue.c ${engine_fixture} LIBS tern_module)
tern_unit_test(test_engine_delivery SOURCES test_engine_delivery.c ${engine_fixture} LIBS tern_module)
tern_unit_test(test_runner SOURCES test_runner.c ${engine_fixture} LIBS tern_module)
# The ABI: the module of tests/abi/v1, as kept and built afresh with today's header.
add_library(test_abi_v1 MODULE ${PROJECT_SOURCE_DIR}/tests/abi/v1/abi_v1.c)
target_link_libraries(test_abi_v1 PRIVATE tern_options tern_api)
set_target_properties(test_abi_v1 PROPERTIES PREFIX "" OUTPUT_NAME abi_v1
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/abi)
tern_unit_test(test_abi SOURCES test_abi.c policy_fixture.c LIBS tern_module)
target_compile_definitions(test_abi PRIVATE TERN_ABI_BUILD_DIR="${CMAKE_CURRENT_BINARY_DIR}/abi")
add_dependencies(test_abi test_abi_v1)
tern_unit_test(test_runner_property SOURCES test_runner_property.c ${engine_fixture} LIBS tern_module)
