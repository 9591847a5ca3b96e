/* SPDX-License-Identifier: Apache-2.0 */
/* sockaddr.h - tern_address from and to the kernel's form. */
#ifndef TERN_NET_SOCKADDR_H
#define TERN_NET_SOCKADDR_H

#include <sys/socket.h>

#include <tern/module.h>

socklen_t net_to_sockaddr(const tern_address *a, struct sockaddr_storage *out);
void net_from_sockaddr(const struct sockaddr_storage *from, tern_address *a);

#endif
