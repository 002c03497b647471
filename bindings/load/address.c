/* address.c - looks addresses up and tries them, before the threads start: both wait for the answer. */
#include "address.h"

#include <errno.h>
#include <lauxlib.h>
#include <netdb.h>
#include <stdbool.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define ADDRESS_TYPE "tidemark.load.address"

enum { CONNECT_SECONDS_MAX = 5 };

static int address_tostring(lua_State *L)
{
    const struct address *address = address_check(L, 1);
    char host[NI_MAXHOST], service[NI_MAXSERV];
    if (getnameinfo((const struct sockaddr *)&address->storage, address->length, host, sizeof host, service,
                    sizeof service, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return luaL_error(L, "an address of an unknown kind");
    lua_pushfstring(L, address->storage.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, service);
    return 1;
}

void address_push(lua_State *L, const struct address *address)
{
    struct address *copy = lua_newuserdatauv(L, sizeof *copy, 0);
    *copy = *address;
    if (luaL_newmetatable(L, ADDRESS_TYPE)) {
        lua_pushcfunction(L, address_tostring);
        lua_setfield(L, -2, "__tostring");
    }
    lua_setmetatable(L, -2);
}

const struct address *address_check(lua_State *L, int index)
{
    return luaL_checkudata(L, index, ADDRESS_TYPE);
}

int address_lookup(lua_State *L)
{
    const char *host = luaL_checkstring(L, 1);
    const char *service = luaL_tolstring(L, 2, NULL);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list;
    int fault = getaddrinfo(host, service, &hints, &list);
    if (fault)
        return luaL_error(L, "cannot look up %s:%s: %s", host, service, gai_strerror(fault));
    lua_newtable(L);
    int count = 0;
    for (const struct addrinfo *each = list; each; each = each->ai_next) {
        struct address address = {.length = each->ai_addrlen};
        memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
        address_push(L, &address);
        lua_rawseti(L, -2, ++count);
    }
    freeaddrinfo(list);
    return 1;
}

int address_connect(lua_State *L)
{
    const struct address *address = address_check(L, 1);
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = false;
    if (fd >= 0) {
        struct timeval patience = {.tv_sec = CONNECT_SECONDS_MAX};
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* bounds connect too */
        connected = connect(fd, (const struct sockaddr *)&address->storage, address->length) == 0;
    }
    int reason = errno == EINPROGRESS ? ETIMEDOUT : errno;
    if (fd >= 0)
        close(fd);
    lua_pushboolean(L, connected);
    if (connected)
        return 1;
    lua_pushstring(L, strerror(reason));
    return 2;
}
