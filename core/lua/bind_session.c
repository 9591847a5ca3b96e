/* SPDX-License-Identifier: Apache-2.0 */
/* bind_session.c - what scripts read of a session, and tags. */
#include "lua/binding.h"

#define SESSION_TEXT(name, function)                                                               \
    int lua_session_##name(lua_State *L)                                                           \
    {                                                                                              \
        return lua_push_text(L, lua_api->function(lua_run_of(L)->call));                           \
    }
SESSION_TEXT(id, session_id)
SESSION_TEXT(client, client_address_text)
SESSION_TEXT(listener, listener_name)
SESSION_TEXT(policy, policy_name)
SESSION_TEXT(helo, helo_name)
SESSION_TEXT(user, user)
#undef SESSION_TEXT

#define CREDENTIAL(name, function)                                                                 \
    int lua_credentials_##name(lua_State *L)                                                       \
    {                                                                                              \
        return lua_push_str(L, lua_api->function(lua_run_of(L)->call));                            \
    }
CREDENTIAL(user, auth_user)
CREDENTIAL(password, auth_password)
CREDENTIAL(mechanism, auth_mechanism)
#undef CREDENTIAL

/* nil: the client sent none; it may be empty. */
int lua_credentials_response(lua_State *L)
{
    tern_str response = lua_api->auth_response(lua_run_of(L)->call);

    if (response.ptr == NULL)
        lua_pushnil(L);
    else
        lua_pushlstring(L, response.ptr, response.len);
    return 1;
}

/* At hook vrfy alone, where there is something asked for. */
int lua_asked_verb(lua_State *L)
{
    lua_pushstring(L, lua_api->vrfy(lua_run_of(L)->call)->expand ? "expn" : "vrfy");
    return 1;
}

#define ASKED(name, field)                                                                         \
    int lua_asked_##name(lua_State *L)                                                             \
    {                                                                                              \
        return lua_push_str(L, lua_api->vrfy(lua_run_of(L)->call)->field);                         \
    }
ASKED(argument, argument)
ASKED(address, mailbox.address)
ASKED(local_part, mailbox.local)
ASKED(domain, mailbox.domain)
#undef ASKED

int lua_session_esmtp(lua_State *L)
{
    lua_pushboolean(L, lua_api->is_esmtp(lua_run_of(L)->call));
    return 1;
}

int lua_session_early_octets(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)lua_api->early_octets(lua_run_of(L)->call));
    return 1;
}

int lua_session_tls(lua_State *L)
{
    lua_pushboolean(L, lua_api->is_tls(lua_run_of(L)->call));
    return 1;
}

int lua_session_tls_version(lua_State *L)
{
    return lua_push_text(L, lua_api->tls_version(lua_run_of(L)->call));
}

int lua_session_tls_cipher(lua_State *L)
{
    return lua_push_text(L, lua_api->tls_cipher(lua_run_of(L)->call));
}

int lua_session_tls_sni(lua_State *L)
{
    return lua_push_text(L, lua_api->tls_sni(lua_run_of(L)->call));
}

int lua_session_tls_client(lua_State *L)
{
    return lua_push_text(L, lua_api->tls_client(lua_run_of(L)->call));
}

int lua_session_tls_subject(lua_State *L)
{
    return lua_push_text(L, lua_api->tls_subject(lua_run_of(L)->call));
}

int lua_session_tls_fingerprint(lua_State *L)
{
    return lua_push_text(L, lua_api->tls_fingerprint(lua_run_of(L)->call));
}

int lua_session_tls_error(lua_State *L)
{
    return lua_push_text(L, lua_api->tls_error(lua_run_of(L)->call));
}

int lua_session_vars(lua_State *L)
{
    return lua_vars_push(L, true);
}

int lua_session_withhold(lua_State *L)
{
    const char *keyword = lua_check_text(L, 2, 64);

    lua_check_result(L, "session:withhold", lua_api->withhold(lua_run_of(L)->call, keyword));
    return 0;
}

int lua_any_tag(lua_State *L)
{
    const char *name = lua_check_text(L, 2, 64);
    const struct lua_run *run = lua_run_of(L);

    if (lua_script_note(run->vm->script, TERN_NOTE_TAG, name) == NULL)
        return luaL_error(L, "the tag \"%s\" was not declared with tern.tag { name = \"%s\" }",
                          name, name);
    lua_check_result(L, "tag", lua_api->tag(run->call, name));
    return 0;
}

int lua_any_has_tag(lua_State *L)
{
    lua_pushboolean(L, lua_api->has_tag(lua_run_of(L)->call, lua_check_text(L, 2, 64)));
    return 1;
}

int lua_any_results(lua_State *L)
{
    return lua_results_push(L);
}
