/* SPDX-License-Identifier: Apache-2.0 */
/* when_vm.h - the state in which a thread evaluates `when` expressions. */
#ifndef TERN_LUA_WHEN_VM_H
#define TERN_LUA_WHEN_VM_H

struct when_vm;
void when_vm_free(struct when_vm *vm); /* NULL is fine */

#endif
