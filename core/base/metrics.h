/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - counters, gauges and histograms, printed as Prometheus text.
 *
 * A metric is made once (the same name and labels give the same one) and lives as long
 * as the process. `labels` is the inside of the braces, `hook="rcpt",step="greylist"`, or "".
 * Any thread.
 */
#ifndef TERN_BASE_METRICS_H
#define TERN_BASE_METRICS_H

#include <stdint.h>

#include "base/buf.h"

struct metric;

#define METRIC_SERIES_MAX 20000 /* past that new ones are counted into one spare metric */

struct metric *metric_counter(const char *name, const char *labels, const char *help);
struct metric *metric_gauge(const char *name, const char *labels, const char *help);
/* Microseconds, in buckets from 50 us to 60 s. */
struct metric *metric_histogram(const char *name, const char *labels, const char *help);
/* The same for what takes seconds to days: buckets from 100 ms to 5 days. */
struct metric *metric_histogram_slow(const char *name, const char *labels, const char *help);

void metric_add(struct metric *m, uint64_t amount); /* NULL is allowed */
void metric_set(struct metric *m, int64_t value);
void metric_shift(struct metric *m, int64_t delta); /* gauges up and down */
void metric_observe_us(struct metric *m, uint64_t us);
uint64_t metric_value(const struct metric *m);

void metrics_print(struct buf *out);

#endif
