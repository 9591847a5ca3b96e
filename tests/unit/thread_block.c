/* SPDX-License-Identifier: Apache-2.0 */
/* What test_asan loads: a block of thread-local storage, of a size of which some begin 16 octets into a page. */
char *thread_block(void);

#define BLOCK_OCTETS 100

__attribute__((visibility("default"))) char *thread_block(void)
{
    static _Thread_local char block[BLOCK_OCTETS];
    return block;
}
