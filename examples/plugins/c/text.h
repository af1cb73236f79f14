// Texts without a terminator, as components use them, and the little of JSON that plugins need.
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  const char *at;
  size_t length;
} text;

// A text that can grow. Set it to zero before its first use.
typedef struct {
  char *at;
  size_t length;
  size_t room;
} builder;

// Makes a `text` of a string of the bindings.
#define TEXT(s) ((text){(const char *)(s).ptr, (s).len})
#define LITERAL(s) ((text){(s), sizeof(s) - 1})

bool text_is(text one, text other);

// Compares by bytes of UTF-8. Returns a number below 0, 0, or above 0.
int text_compare(text one, text other);

// Returns memory or, if there is none, ends the activation: `plugin_fail` does not return.
void *reserve(size_t bytes);
_Noreturn void plugin_fail(const char *message);

void add(builder *to, text what);
void add_number(builder *to, uint64_t number);
text built(const builder *of);

// The value of the member `name` of a JSON object, as it is written there; empty if it has none.
text json_member(text object, const char *name);

// The next value of a JSON list, as it is written there; empty after the last. `*place` starts at 0.
// In an object it gives names and values by turns.
text json_next(text list, size_t *place);

// The text that a JSON string stands for, without quotes and escapes.
text json_text(text string);

// The value of a JSON number that is whole and not negative; `otherwise` if it is missing.
uint64_t json_number(text number, uint64_t otherwise);

// Adds a text as a JSON string.
void json_add(builder *to, text string);

#endif
