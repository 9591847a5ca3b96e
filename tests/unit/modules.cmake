# What modules share.
tern_unit_test(test_password LIBS tern_module_lib)
set(auth_file ${PROJECT_SOURCE_DIR}/modules/auth_file)
tern_unit_test(test_users LIBS tern_module_lib dep::yaml dep::sodium
  SOURCES test_users.c ${auth_file}/users.c ${auth_file}/users_file.c ${auth_file}/users_yaml.c)
tern_unit_test(test_template LIBS tern_module_template)
tern_unit_test(test_dovecot LIBS tern_api dep::sodium
  SOURCES test_dovecot.c ${PROJECT_SOURCE_DIR}/modules/auth_dovecot/protocol.c)
tern_unit_test(test_auth_http LIBS tern_api dep::jansson
  SOURCES test_auth_http.c ${PROJECT_SOURCE_DIR}/modules/auth_http/question.c)
tern_unit_test(test_arc LIBS tern_module_dkim)
tern_unit_test(test_arc_suite LIBS tern_module_dkim tern_module_authres tern_base dep::yaml
  SOURCES test_arc_suite.c ${PROJECT_SOURCE_DIR}/modules/arc_seal/seal.c)
tern_unit_test(test_dkim_write LIBS tern_module_dkim)
tern_unit_test(test_dkim LIBS tern_module_dkim tern_base dep::jansson)
tern_unit_test(test_field LIBS tern_module_dkim
  SOURCES test_field.c ${PROJECT_SOURCE_DIR}/modules/lib/field.c)
tern_unit_test(test_outcomes LIBS tern_module_outcomes Threads::Threads)
tern_unit_test(test_dkim_octets LIBS tern_module_dkim tern_base dep::sodium)
tern_unit_test(test_authres LIBS tern_module_authres)
tern_unit_test(test_forged LIBS tern_module_authres dep::idn
  SOURCES test_forged.c ${PROJECT_SOURCE_DIR}/modules/auth_results/forged.c ${PROJECT_SOURCE_DIR}/modules/lib/idn.c)
tern_unit_test(test_from LIBS tern_api
  SOURCES test_from.c ${PROJECT_SOURCE_DIR}/modules/lib/from.c)
tern_unit_test(test_dovecot_link LIBS tern_api dep::sodium Threads::Threads
  SOURCES test_dovecot_link.c ${PROJECT_SOURCE_DIR}/modules/auth_dovecot/link.c
    ${PROJECT_SOURCE_DIR}/modules/auth_dovecot/protocol.c)
foreach(part client_name evaluate macro name record)
  list(APPEND spf_check ${PROJECT_SOURCE_DIR}/modules/spf/${part}.c)
endforeach()
tern_unit_test(test_spf LIBS tern_module_address tern_api tern_base SOURCES test_spf.c ${spf_check})
target_include_directories(test_spf PRIVATE ${PROJECT_SOURCE_DIR}/modules)
tern_unit_test(test_spf_suite LIBS tern_module_address tern_api tern_base dep::yaml dep::jansson SOURCES test_spf_suite.c ${spf_check})
target_include_directories(test_spf_suite PRIVATE ${PROJECT_SOURCE_DIR}/modules)
tern_unit_test(test_dmarc_report LIBS tern_module_dmarc_report tern_base)
tern_unit_test(test_srs LIBS tern_module_signed tern_base SOURCES test_srs.c ${PROJECT_SOURCE_DIR}/modules/srs/address.c)
foreach(part align evaluate name record)
  list(APPEND dmarc_check ${PROJECT_SOURCE_DIR}/modules/dmarc/${part}.c)
endforeach()
tern_unit_test(test_dmarc LIBS tern_api tern_base
  SOURCES test_dmarc.c ${dmarc_check})
target_include_directories(test_dmarc PRIVATE ${PROJECT_SOURCE_DIR}/modules)
tern_unit_test(test_batv LIBS tern_module_signed tern_base SOURCES test_batv.c ${PROJECT_SOURCE_DIR}/modules/batv/tag.c)
tern_unit_test(test_dmarc_suite LIBS tern_module_dkim tern_base dep::jansson $<$<BOOL:${TERN_PSL}>:PkgConfig::dep_psl>
  SOURCES test_dmarc_suite.c ${dmarc_check} ${PROJECT_SOURCE_DIR}/modules/dmarc/suffix.c)
if(TERN_PSL)
  target_compile_definitions(test_dmarc_suite PRIVATE TERN_DMARC_PSL=1)
endif()
target_include_directories(test_dmarc_suite PRIVATE ${PROJECT_SOURCE_DIR}/modules)
tern_unit_test(test_dmarc_rows LIBS tern_module_dmarc_report)
tern_unit_test(test_dmarc_store LIBS tern_module_dmarc_rows Threads::Threads
  SOURCES test_dmarc_store.c ${PROJECT_SOURCE_DIR}/modules/dmarc/store.c)
