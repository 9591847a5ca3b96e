/* SPDX-License-Identifier: Apache-2.0 */
/* charset.h - what decoding a charset costs. For this folder. */
#ifndef TERN_MIME_CHARSET_H
#define TERN_MIME_CHARSET_H

#include "base/slice.h"

enum charset_kind {
    CHARSET_UNKNOWN,
    CHARSET_BUILT_IN, /* UTF-8 and what counts as it */
    CHARSET_ICONV,    /* a converter is opened each time, if it is installed */
};

enum charset_kind charset_kind(struct slice charset);

#endif
