/* json_merge.c - JSON Merge Patch (RFC 7396) on texts, without building values.
 *
 * Both texts are valid JSON without white space, at most JSON_DEPTH_MAX deep. The target's members are copied one after
 * the other, each as a span of bytes, unless the patch names its key; then the patch's members that add something
 * follow. Keys are compared as decoded bytes. A member that another one of the same key follows is skipped, so that of
 * a repeated key the last one counts; to find out, the members of a level are listed first. Lookups are linear for a
 * few members and by sorting beyond, so a wide document costs n log n. */
#include <stdlib.h>
#include <string.h>

#include "json.h"

struct span {
    const char *bytes;
    size_t length;
};

struct member {
    struct span key;   /* as written, with quotes */
    struct span name;  /* decoded */
    struct span value; /* as written */
    size_t place;
    bool shadowed; /* a later member has the same key */
};

struct members {
    struct member *list; /* in the order of the text */
    struct member **sorted;
    size_t count, capacity;
    char *decoded; /* for names with escapes */
};

/* ---- Stepping through a text ---- */

static const char *string_end(const char *p) /* p at the opening quote */
{
    for (p++; *p != '"'; p++)
        if (*p == '\\')
            p++;
    return p + 1;
}

static const char *value_end(const char *p, const char *end)
{
    size_t depth = 0;
    for (; p < end; p++) {
        if (*p == '"')
            p = string_end(p) - 1;
        else if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']') {
            if (depth == 0)
                return p;
            if (--depth == 0)
                return p + 1;
            continue;
        } else if (*p == ',' && depth == 0)
            return p;
        if (depth == 0 && *p == '"')
            return p + 1;
    }
    return end;
}

static unsigned hex4(const char *p)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)p[i];
        value = value * 16 + (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return value;
}

static char *utf8_put(char *out, unsigned c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 63));
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    }
    return out;
}

/* Decodes the inside of a string; never longer than it. */
static char *string_decode(char *out, struct span text)
{
    const char *p = text.bytes, *end = p + text.length;
    while (p < end) {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        p++;
        const char *found = strchr(from, *p);
        if (*p == 'u') {
            unsigned c = hex4(p + 1);
            p += 5;
            if (c >= 0xd800 && c < 0xdc00) {
                c = 0x10000 + ((c - 0xd800) << 10) + (hex4(p + 2) - 0xdc00);
                p += 6;
            }
            out = utf8_put(out, c);
        } else {
            *out++ = found ? to[found - from] : *p;
            p++;
        }
    }
    return out;
}

/* ---- The members of an object ---- */

static int name_compare(const struct span *a, const struct span *b)
{
    if (a->length != b->length)
        return a->length < b->length ? -1 : 1;
    return a->length == 0 ? 0 : memcmp(a->bytes, b->bytes, a->length);
}

static int member_compare(const void *left, const void *right)
{
    const struct member *a = *(struct member *const *)left, *b = *(struct member *const *)right;
    int order = name_compare(&a->name, &b->name);
    return order ? order : a->place < b->place ? -1 : 1;
}

static void members_free(struct members *members)
{
    free(members->list);
    free(members->sorted);
    free(members->decoded);
}

static bool members_add(struct members *members, const struct member *member)
{
    if (members->count == members->capacity) {
        size_t capacity = members->capacity ? members->capacity * 2 : 16;
        struct member *list = realloc(members->list, capacity * sizeof *list);
        if (!list)
            return false;
        members->list = list;
        members->capacity = capacity;
    }
    members->list[members->count] = *member;
    members->list[members->count].place = members->count;
    members->count++;
    return true;
}

static bool members_sort(struct members *members)
{
    members->sorted = malloc((members->count + 1) * sizeof *members->sorted);
    if (!members->sorted)
        return false;
    for (size_t i = 0; i < members->count; i++)
        members->sorted[i] = &members->list[i];
    qsort(members->sorted, members->count, sizeof *members->sorted, member_compare);
    for (size_t i = 0; i + 1 < members->count; i++)
        members->sorted[i]->shadowed = name_compare(&members->sorted[i]->name, &members->sorted[i + 1]->name) == 0;
    return true;
}

/* Lists the members of the object `text`; members_free in any case. */
static bool members_list(struct members *members, struct span text)
{
    const char *p = text.bytes + 1, *end = text.bytes + text.length - 1;
    char *decoded = NULL;
    *members = (struct members){0};
    if (memchr(text.bytes, '\\', text.length)) {
        decoded = members->decoded = malloc(text.length);
        if (!decoded)
            return false;
    }
    while (p < end) {
        struct member member = {.key.bytes = p};
        p = string_end(p);
        member.key.length = (size_t)(p - member.key.bytes);
        member.name = (struct span){member.key.bytes + 1, member.key.length - 2};
        if (decoded && memchr(member.name.bytes, '\\', member.name.length)) {
            char *start = decoded;
            decoded = string_decode(decoded, member.name);
            member.name = (struct span){start, (size_t)(decoded - start)};
        }
        member.value.bytes = ++p; /* behind the colon */
        p = value_end(p, end);
        member.value.length = (size_t)(p - member.value.bytes);
        p++; /* behind the comma */
        if (!members_add(members, &member))
            return false;
    }
    return members_sort(members);
}

static const struct member *members_find(const struct members *members, const struct span *name)
{
    size_t low = 0, high = members->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (name_compare(&members->sorted[middle]->name, name) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    /* low is behind the last one of that name, if there is one */
    return low > 0 && name_compare(&members->sorted[low - 1]->name, name) == 0 ? members->sorted[low - 1] : NULL;
}

/* ---- Merging ---- */

static bool is_object(struct span value)
{
    return value.bytes[0] == '{';
}

static bool is_null(struct span value)
{
    return value.bytes[0] == 'n';
}

static bool append(struct json_buffer *out, struct span span)
{
    return json_buffer_append(out, span.bytes, span.length);
}

static bool merge(struct json_buffer *out, struct span target, struct span patch);

static const struct span empty_object = {"{}", 2};

/* Writes `key`:(what becomes of `before` under `patch`), with a comma where it isn't the first member. */
static bool merge_member(struct json_buffer *out, size_t start, struct span key, struct span before, struct span patch)
{
    if (out->length > start && !json_buffer_append(out, ",", 1))
        return false;
    if (!append(out, key) || !json_buffer_append(out, ":", 1))
        return false;
    return is_object(patch) ? merge(out, is_object(before) ? before : empty_object, patch) : append(out, patch);
}

static bool merge_members(struct json_buffer *out, const struct members *target, const struct members *patch)
{
    size_t start = out->length;
    for (size_t i = 0; i < target->count; i++) {
        const struct member *member = &target->list[i];
        if (member->shadowed)
            continue;
        const struct member *change = members_find(patch, &member->name);
        if (!change) {
            size_t length = (size_t)(member->value.bytes + member->value.length - member->key.bytes);
            if ((out->length > start && !json_buffer_append(out, ",", 1)) ||
                !json_buffer_append(out, member->key.bytes, length))
                return false;
        } else if (!is_null(change->value)) {
            if (!merge_member(out, start, member->key, member->value, change->value))
                return false;
        }
    }
    for (size_t i = 0; i < patch->count; i++) {
        const struct member *change = &patch->list[i];
        if (change->shadowed || is_null(change->value) || members_find(target, &change->name))
            continue;
        if (!merge_member(out, start, change->key, empty_object, change->value))
            return false;
    }
    return true;
}

static bool merge(struct json_buffer *out, struct span target, struct span patch)
{
    struct members old, new = {0};
    bool done = members_list(&old, target) && members_list(&new, patch) && json_buffer_append(out, "{", 1) &&
                merge_members(out, &old, &new) && json_buffer_append(out, "}", 1);
    members_free(&old);
    members_free(&new);
    return done;
}

const char *json_merge_patch(const char *target, size_t target_length, const char *patch, size_t patch_length,
                             struct json_buffer *out)
{
    struct span into = {target, target_length}, with = {patch, patch_length};
    return merge(out, into, with) ? NULL : json_out_of_memory;
}
