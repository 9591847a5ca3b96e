/* SPDX-License-Identifier: Apache-2.0 */
/*
 * date.c - dates of mail, without libc's time zone or locale.
 *
 * Source: RFC 5322 3.3 and 4.3 (obsolete forms are read, never printed). Days are counted in the
 * proleptic Gregorian calendar, years begin in March in the arithmetic.
 */
#include "mime/date.h"

#include <string.h>

#include "mime/lex.h"

#define DAY_S       86400
#define OFFSET_MAX  1439             /* minutes */
#define YEAR_1_S    (-62135596800LL) /* 1 Jan 0001 */
#define YEAR_9999_S 253402300799LL   /* 31 Dec 9999 23:59:59 */

static const char days[] = "ThuFriSatSunMonTueWed"; /* 1 Jan 1970 was a Thursday */
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* Days since 1 Jan 1970 of a date; month 1 to 12. */
static int64_t days_of(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t in_era = year - era * 400;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static void date_of(int64_t count, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    count += 719468;
    int64_t era = (count >= 0 ? count : count - 146096) / 146097;
    int64_t in_era = count - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t shifted = (5 * in_year + 2) / 153;

    *ret_day = (unsigned)(in_year - (153 * shifted + 2) / 5 + 1);
    *ret_month = (unsigned)(shifted < 10 ? shifted + 3 : shifted - 9);
    *ret_year = year + era * 400 + (*ret_month <= 2);
}

static int64_t clamp(int64_t n, int64_t low, int64_t high)
{
    return n < low ? low : n > high ? high : n;
}

static char *put_digits(char *out, unsigned number, unsigned digits)
{
    for (unsigned i = digits; i > 0; number /= 10)
        out[--i] = (char)('0' + number % 10);
    return out + digits;
}

static char *put_text(char *out, const char *text, size_t octets)
{
    memcpy(out, text, octets);
    return out + octets;
}

size_t date_print(char *out, int64_t unix_s, int offset_minutes)
{
    int offset = (int)clamp(offset_minutes, -OFFSET_MAX, OFFSET_MAX);
    int64_t local = clamp(unix_s, YEAR_1_S - DAY_S, YEAR_9999_S + DAY_S) + offset * 60;
    int64_t year;
    unsigned month, day;

    local = clamp(local, YEAR_1_S, YEAR_9999_S);
    int64_t count = (local >= 0 ? local : local - (DAY_S - 1)) / DAY_S;
    unsigned second = (unsigned)(local - count * DAY_S);
    unsigned zone = (unsigned)(offset < 0 ? -offset : offset);
    date_of(count, &year, &month, &day);
    char *at = put_text(out, days + 3 * (((count % 7) + 7) % 7), 3);
    at = put_text(at, ", ", 2);
    at = put_digits(at, day, day < 10 ? 1 : 2);
    *at++ = ' ';
    at = put_text(at, months + 3 * (month - 1), 3);
    *at++ = ' ';
    at = put_digits(at, (unsigned)year, 4);
    *at++ = ' ';
    at = put_digits(at, second / 3600, 2);
    *at++ = ':';
    at = put_digits(at, second / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, second % 60, 2);
    *at++ = ' ';
    *at++ = offset < 0 ? '-' : '+';
    at = put_digits(at, zone / 60, 2);
    at = put_digits(at, zone % 60, 2);
    *at = '\0';
    return (size_t)(at - out);
}

/* ---- Reading ------------------------------------------------------------ */

/* A number of `min` to `max` digits, with blanks and comments behind it. */
static bool read_number(struct slice *s, size_t min, size_t max, unsigned *ret, size_t *ret_digits)
{
    size_t digits = 0;
    uint64_t n;

    while (digits < s->len && digits <= max && s->ptr[digits] >= '0' && s->ptr[digits] <= '9')
        digits++;
    if (digits < min || digits > max || !slice_to_u64(slice_head(*s, digits), &n))
        return false;
    *s = slice_from(*s, digits);
    *ret = (unsigned)n;
    if (ret_digits != NULL)
        *ret_digits = digits;
    return lex_skip_blank(s);
}

/* One of a list of three-letter names; -1 if it is none. */
static int read_name(struct slice *s, const char *names)
{
    for (int i = 0; names[3 * i] != '\0'; i++) {
        if (!slice_starts_nocase(*s, slice_make(names + 3 * i, 3)))
            continue;
        *s = slice_from(*s, 3);
        return lex_skip_blank(s) ? i : -1;
    }
    return -1;
}

/* RFC 5322 4.3: two digits are 1950 to 2049, three count from 1900. */
static bool read_year(struct slice *s, int64_t *ret)
{
    unsigned n;
    size_t digits;

    if (!read_number(s, 2, 4, &n, &digits))
        return false;
    *ret = digits == 4 ? n : digits == 2 && n < 50 ? n + 2000 : n + 1900;
    return *ret >= 1900;
}

static bool read_time(struct slice *s, unsigned *ret_second)
{
    unsigned hour, minute, second = 0;

    if (!read_number(s, 1, 2, &hour, NULL) || !lex_take(s, ':') || !lex_skip_blank(s) ||
        !read_number(s, 2, 2, &minute, NULL))
        return false;
    if (lex_take(s, ':') && (!lex_skip_blank(s) || !read_number(s, 2, 2, &second, NULL)))
        return false;
    *ret_second = hour * 3600 + minute * 60 + second;
    return hour <= 23 && minute <= 59 && second <= 60;
}

/* Zone names but these say nothing (4.3): as +0000. */
static int named_zone(struct slice name)
{
    static const struct {
        struct slice name;
        int hours;
    } zones[] = { { SLICE("EST"), -5 }, { SLICE("EDT"), -4 }, { SLICE("CST"), -6 },
                  { SLICE("CDT"), -5 }, { SLICE("MST"), -7 }, { SLICE("MDT"), -6 },
                  { SLICE("PST"), -8 }, { SLICE("PDT"), -7 } };

    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
        if (slice_equal_nocase(name, zones[i].name))
            return zones[i].hours * 60;
    return 0;
}

static bool read_zone(struct slice *s, int *ret_minutes)
{
    char sign = s->len > 0 ? s->ptr[0] : '\0';
    unsigned n;

    if (sign != '+' && sign != '-') {
        struct slice name = lex_atom(s);
        *ret_minutes = named_zone(name);
        return name.len > 0 && name.len <= 5 && lex_skip_blank(s);
    }
    *s = slice_from(*s, 1);
    if (!read_number(s, 4, 4, &n, NULL) || n % 100 > 59 || n / 100 > 23)
        return false;
    *ret_minutes = (int)(n / 100 * 60 + n % 100) * (sign == '-' ? -1 : 1);
    return true;
}

static unsigned month_days(int64_t year, unsigned month)
{
    return (unsigned)(month == 12 ? 31 : days_of(year, month + 1, 1) - days_of(year, month, 1));
}

bool date_parse(struct slice s, int64_t *ret_unix_s, int *ret_offset_minutes)
{
    unsigned day, second;
    int64_t year;
    int offset;

    if (!lex_skip_blank(&s))
        return false;
    if (read_name(&s, days) >= 0 && (!lex_take(&s, ',') || !lex_skip_blank(&s)))
        return false;
    if (!read_number(&s, 1, 2, &day, NULL))
        return false;
    int month = read_name(&s, months);
    if (month < 0 || !read_year(&s, &year) || !read_time(&s, &second) || !read_zone(&s, &offset) ||
        s.len > 0)
        return false;
    if (day < 1 || day > month_days(year, (unsigned)month + 1))
        return false;
    *ret_unix_s = days_of(year, (unsigned)month + 1, day) * DAY_S + second - offset * 60;
    *ret_offset_minutes = offset;
    return true;
}
