# The few targets and functions from which every folder is built.
#
#   tern_options   warnings and the sanitizer; linked by everything
#   tern_api       core/include, all that a module may see
#   tern_folder(NAME SOURCES ... LIBS ...)    one folder of core/ as a static library tern_NAME
#   tern_add_module(NAME [LIBS ...])          modules/NAME/NAME.c as NAME.so
#   tern_unit_test(NAME SOURCES ... LIBS ...) a CUnit binary, run by ctest under the label "unit"
#   tern_fuzz_target(NAME LIBS ...)           tests/fuzz/NAME.c: libFuzzer, or a replay of the kept corpus

option(TERN_FUZZ "build the fuzz targets with libFuzzer (clang)" OFF)
set(TERN_SANITIZER "" CACHE STRING "value of -fsanitize=, for the core and all modules")
option(TERN_WERROR "warnings are errors" ON)

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
foreach(lib libuv libcares yaml-0.1 lua5.4 libsodium libmicrohttpd jansson libidn2 libxxhash lmdb openssl libseccomp)
  string(REGEX REPLACE "[^a-z]" "" short ${lib})
  string(REGEX REPLACE "^lib" "" short ${short})
  pkg_check_modules(dep_${short} REQUIRED IMPORTED_TARGET ${lib})
  add_library(dep::${short} ALIAS PkgConfig::dep_${short})
endforeach()
if(BUILD_TESTING)
  pkg_check_modules(dep_cunit REQUIRED IMPORTED_TARGET cunit)
  add_library(dep::cunit ALIAS PkgConfig::dep_cunit)
endif()

add_library(tern_options INTERFACE)
target_compile_features(tern_options INTERFACE c_std_17)
target_compile_definitions(tern_options INTERFACE _GNU_SOURCE)
target_compile_options(tern_options INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2
  -Wno-format-nonliteral -Wno-missing-field-initializers -Wno-unused-parameter
  $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> $<$<C_COMPILER_ID:GNU>:-Wno-format-overflow>
  -fvisibility=hidden -fno-strict-aliasing -fno-omit-frame-pointer
  $<$<BOOL:${TERN_WERROR}>:-Werror>)
# assert() stays on in every build: what it guards is cheaper than what it prevents.
target_compile_options(tern_options INTERFACE -UNDEBUG)
if(TERN_SANITIZER)
  target_compile_options(tern_options INTERFACE -fsanitize=${TERN_SANITIZER} -fno-sanitize-recover=all)
  target_link_options(tern_options INTERFACE -fsanitize=${TERN_SANITIZER})
  target_compile_definitions(tern_options INTERFACE TERN_SANITIZED=1)
endif()
if(TERN_SANITIZER MATCHES "address")
  target_sources(tern_options INTERFACE
    $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:${PROJECT_SOURCE_DIR}/cmake/asan.c>)
endif()
if(TERN_FUZZ)
  target_compile_options(tern_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

add_library(tern_api INTERFACE)
target_include_directories(tern_api INTERFACE
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/core/include>)

function(tern_folder name)
  cmake_parse_arguments(A "" "" "SOURCES;LIBS" ${ARGN})
  add_library(tern_${name} STATIC ${A_SOURCES})
  # Headers are named by folder ("base/arena.h"), so an include says its layer.
  target_include_directories(tern_${name} PUBLIC ${PROJECT_SOURCE_DIR}/core)
  target_link_libraries(tern_${name} PUBLIC tern_options tern_api ${A_LIBS})
  set_target_properties(tern_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

function(tern_add_module name)
  cmake_parse_arguments(A "" "" "SOURCES;LIBS" ${ARGN})
  add_library(module_${name} MODULE ${name}/${name}.c ${A_SOURCES})
  target_link_libraries(module_${name} PRIVATE tern_options tern_api ${A_LIBS})
  set_target_properties(module_${name} PROPERTIES
    PREFIX "" OUTPUT_NAME ${name}
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/modules)
  install(TARGETS module_${name} DESTINATION ${CMAKE_INSTALL_LIBDIR}/tern/modules)
endfunction()

function(tern_unit_test name)
  cmake_parse_arguments(A "" "" "SOURCES;LIBS" ${ARGN})
  if(NOT A_SOURCES)
    set(A_SOURCES ${name}.c)
  endif()
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE tern_options ${A_LIBS} dep::cunit)
  target_compile_definitions(${name} PRIVATE
    TERN_SOURCE_DIR="${PROJECT_SOURCE_DIR}" TERN_MODULE_DIR="${PROJECT_BINARY_DIR}/modules")
  add_test(NAME ${name} COMMAND ${name})
  # Sanitizers cost up to twenty times; a loaded machine does the rest.
  set(timeout 300)
  if(TERN_SANITIZER)
    set(timeout 600)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT ${timeout})
endfunction()

# Without libFuzzer the target is linked with a small main that replays files, so
# that the kept corpus is a regression test of every build.
function(tern_fuzz_target name)
  cmake_parse_arguments(A "" "" "LIBS" ${ARGN})
  add_executable(${name} ${name}.c)
  target_link_libraries(${name} PRIVATE tern_options ${A_LIBS})
  add_dependencies(fuzz_targets ${name})
  if(TERN_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz/replay.c)
  endif()
  add_test(NAME ${name} COMMAND ${name} -runs=0 ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name})
  set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 600)
endfunction()
