// Passes texts between a step and its bindings, and ends a step that can't go on.
#ifndef STEP_TEXT_H
#define STEP_TEXT_H

#include <string.h>

#include "step.h"
#include "text.h"

// A text for a call, which the bindings only read.
static step_string_t lend(text of) { return (step_string_t){(uint8_t *)of.at, of.length}; }

_Noreturn void plugin_fail(const char *message) {
  step_string_t said;
  step_string_set(&said, message);
  replicante_playbook_failing_fail(&said);
  __builtin_trap();
}

// The texts of results and errors belong to the bindings, which free them.
static step_string_t give(text of) {
  step_string_t given;
  step_string_dup_n(&given, of.at, of.length);
  return given;
}

#endif
