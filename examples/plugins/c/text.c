#include "text.h"

#include <stdlib.h>
#include <string.h>

bool text_is(text one, text other) { return text_compare(one, other) == 0; }

int text_compare(text one, text other) {
  size_t shared = one.length < other.length ? one.length : other.length;
  int order = shared == 0 ? 0 : memcmp(one.at, other.at, shared);
  return order != 0 ? order : (one.length > other.length) - (one.length < other.length);
}

void *reserve(size_t bytes) {
  void *block = malloc(bytes == 0 ? 1 : bytes);
  if (block == NULL) plugin_fail("out of memory");
  return block;
}

void add(builder *to, text what) {
  if (what.length > to->room - to->length) {
    to->room = 2 * (to->length + what.length) + 64;
    char *larger = realloc(to->at, to->room);
    if (larger == NULL) plugin_fail("out of memory");
    to->at = larger;
  }
  if (what.length > 0) memcpy(to->at + to->length, what.at, what.length);
  to->length += what.length;
}

void add_number(builder *to, uint64_t number) {
  char digits[20];
  size_t first = sizeof digits;
  do {
    digits[--first] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  add(to, (text){digits + first, sizeof digits - first});
}

text built(const builder *of) { return (text){of->at, of->length}; }

// The host sends only valid JSON, so reading it means finding where values begin and end.

static size_t skip_space(text json, size_t place) {
  while (place < json.length && strchr(" \t\r\n", json.at[place]) != NULL) place++;
  return place;
}

static size_t string_end(text json, size_t place) {
  for (place++; place < json.length && json.at[place] != '"'; place++) {
    if (json.at[place] == '\\') place++;
  }
  return place < json.length ? place + 1 : json.length;
}

static size_t value_end(text json, size_t place) {
  size_t depth = 0;
  while (place < json.length) {
    char found = json.at[place];
    bool closes = found == '}' || found == ']';
    if (depth == 0 && (closes || found == ',')) break;
    if (found == '"') {
      place = string_end(json, place);
    } else {
      depth += found == '{' || found == '[';
      depth -= closes;
      place++;
    }
    if (depth == 0 && (closes || found == '"')) break;
  }
  return place;
}

static text value_at(text json, size_t *place) {
  size_t start = skip_space(json, *place);
  size_t end = value_end(json, start);
  *place = end;
  while (end > start && strchr(" \t\r\n", json.at[end - 1]) != NULL) end--;
  return (text){json.at + start, end - start};
}

text json_next(text list, size_t *place) {
  size_t next = skip_space(list, *place);
  if (next >= list.length || list.at[next] == ']' || list.at[next] == '}') return (text){"", 0};
  *place = next + 1;
  next = skip_space(list, *place);
  if (next >= list.length || list.at[next] == ']' || list.at[next] == '}') return (text){"", 0};
  return value_at(list, place);
}

text json_member(text object, const char *name) {
  text wanted = {name, strlen(name)};
  size_t place = 0;
  for (;;) {
    text key = json_next(object, &place);
    text value = json_next(object, &place);
    if (key.length == 0 || text_is(json_text(key), wanted)) return value;
  }
}

static uint32_t hexadecimal(const char *digits) {
  char copy[5] = {digits[0], digits[1], digits[2], digits[3], 0};
  return (uint32_t)strtoul(copy, NULL, 16);
}

static size_t put_utf8(char *to, uint32_t code) {
  if (code < 0x80) {
    to[0] = (char)code;
    return 1;
  }
  size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static const uint8_t first[] = {0, 0xC0, 0xE0, 0xF0};
  to[0] = (char)(first[more] | code >> 6 * more);
  for (size_t at = 1; at <= more; at++) to[at] = (char)(0x80 | (code >> 6 * (more - at) & 0x3F));
  return more + 1;
}

text json_text(text string) {
  if (string.length < 2) return (text){"", 0};
  text inside = {string.at + 1, string.length - 2};
  if (inside.length == 0 || memchr(inside.at, '\\', inside.length) == NULL) return inside;
  // An escape is never shorter than what it stands for.
  char *to = reserve(inside.length);
  size_t length = 0;
  for (size_t at = 0; at < inside.length; at++) {
    char found = inside.at[at];
    if (found != '\\') {
      to[length++] = found;
      continue;
    }
    static const char names[] = "bfnrt", meant[] = "\b\f\n\r\t";
    found = inside.at[++at];
    const char *name = memchr(names, found, sizeof names - 1);
    if (name != NULL) {
      to[length++] = meant[name - names];
    } else if (found != 'u') {
      to[length++] = found;
    } else {
      uint32_t code = hexadecimal(inside.at + at + 1);
      at += 4;
      if (code >= 0xD800 && code < 0xDC00) {
        code = 0x10000 + ((code - 0xD800) << 10) + (hexadecimal(inside.at + at + 3) - 0xDC00);
        at += 6;
      }
      length += put_utf8(to + length, code);
    }
  }
  return (text){to, length};
}

uint64_t json_number(text number, uint64_t otherwise) {
  if (number.length == 0) return otherwise;
  uint64_t value = 0;
  for (size_t at = 0; at < number.length; at++) value = value * 10 + (uint64_t)(number.at[at] - '0');
  return value;
}

void json_add(builder *to, text string) {
  add(to, LITERAL("\""));
  for (size_t at = 0; at < string.length; at++) {
    uint8_t found = (uint8_t)string.at[at];
    static const char names[] = "bfnrt\"\\", meant[] = "\b\f\n\r\t\"\\";
    const char *escaped = memchr(meant, found, sizeof meant - 1);
    if (escaped != NULL) {
      add(to, (text){(char[]){'\\', names[escaped - meant]}, 2});
    } else if (found < 0x20) {
      static const char digits[] = "0123456789abcdef";
      add(to, (text){(char[]){'\\', 'u', '0', '0', digits[found >> 4], digits[found & 15]}, 6});
    } else {
      add(to, (text){string.at + at, 1});
    }
  }
  add(to, LITERAL("\""));
}
