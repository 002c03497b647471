/* address.h - the address of a server, in C and as a value of scripts (wrk.lookup, wrk.connect, thread.addr). */
#ifndef TIDE_LOAD_ADDRESS_H
#define TIDE_LOAD_ADDRESS_H

#include <lua.h>
#include <sys/socket.h>

struct address {
    struct sockaddr_storage storage;
    socklen_t length;
};

void address_push(lua_State *L, const struct address *address);
const struct address *address_check(lua_State *L, int index);

int address_lookup(lua_State *L);  /* (host, service) → array of addresses; raises when there is none */
int address_connect(lua_State *L); /* (address) → whether it takes a connection; false comes with the reason */

#endif
