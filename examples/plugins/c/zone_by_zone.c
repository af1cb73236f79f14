// The strategy `zone-by-zone`: goes through a cluster one zone after the other, in the order of
// their names, so that at most one zone is ever touched at a time.
//
// The order of the zones is worked out once, at the first decision of the stage, and kept in the
// memo. Each decision looks at every agent that waits, which is simple and good for some thousands.
// Nothing is freed: the instance ends with the decision.

#include <stdlib.h>
#include <string.h>

#include "strategy.h"
#include "text.h"

typedef exports_replicante_playbook_planning_decision_t decision;

static const char ARGUMENTS[] = {
#embed "zone-by-zone.json"
};

// Identifiers that are asked for at a time.
enum { PAGE = 1000 };

// Characters in the label of a batch, at most.
enum { LABEL = 63 };

typedef struct {
  strategy_string_t id;
  text zone;
} agent;

typedef struct {
  agent *at;
  size_t number;
} agents;

typedef struct {
  text *at;
  size_t number;
} names;

_Noreturn void plugin_fail(const char *message) {
  strategy_string_t said;
  strategy_string_set(&said, message);
  replicante_playbook_failing_fail(&said);
  __builtin_trap();
}

// The texts of a decision belong to the bindings, which free them.
static strategy_string_t give(text of) {
  strategy_string_t given;
  strategy_string_dup_n(&given, of.at, of.length);
  return given;
}

// A text as it is, a number or truth value as it is written, and nothing for all else.
static text zone_of(const strategy_string_t *id, const char *attribute) {
  replicante_playbook_roster_agent_details_t details;
  if (!replicante_playbook_roster_details((strategy_string_t *)id, &details)) return LITERAL("");
  text found = json_member(TEXT(details.attributes), attribute);
  if (found.length == 0 || strchr("{[n", found.at[0]) != NULL) return LITERAL("");
  return found.at[0] == '"' ? json_text(found) : found;
}

static agents waiting(uint32_t pending, const char *attribute) {
  agents all = {reserve(pending * sizeof(agent)), 0};
  strategy_string_t *after = NULL;
  strategy_list_string_t page;
  for (;;) {
    replicante_playbook_roster_page(
        REPLICANTE_PLAYBOOK_TYPES_AGENT_STATE_PENDING, after, PAGE, &page);
    if (page.len == 0) return all;
    for (size_t at = 0; at < page.len && all.number < pending; at++) {
      strategy_string_t id = page.ptr[at];
      all.at[all.number++] = (agent){id, zone_of(&id, attribute)};
    }
    after = &page.ptr[page.len - 1];
  }
}

static int by_name(const void *one, const void *other) {
  return text_compare(*(const text *)one, *(const text *)other);
}

// The zones of the agents, each once, in order.
static names zones_of(const agents *of) {
  names zones = {reserve(of->number * sizeof(text)), 0};
  for (size_t at = 0; at < of->number; at++) zones.at[at] = of->at[at].zone;
  qsort(zones.at, of->number, sizeof(text), by_name);
  for (size_t at = 0; at < of->number; at++) {
    bool known = zones.number > 0 && text_is(zones.at[zones.number - 1], zones.at[at]);
    if (!known) zones.at[zones.number++] = zones.at[at];
  }
  return zones;
}

static bool is_among(text zone, const names *zones) {
  return bsearch(&zone, zones->at, zones->number, sizeof(text), by_name) != NULL;
}

static names read_memo(text memo) {
  text list = json_member(memo, "zones");
  names zones = {reserve(list.length * sizeof(text)), 0};
  size_t place = 0;
  for (text zone; (zone = json_next(list, &place)).length > 0;) {
    zones.at[zones.number++] = json_text(zone);
  }
  return zones;
}

static strategy_string_t write_memo(const names *zones, size_t first) {
  builder memo = {0};
  add(&memo, LITERAL("{\"zones\":["));
  for (size_t at = first; at < zones->number; at++) {
    if (at > first) add(&memo, LITERAL(","));
    json_add(&memo, zones->at[at]);
  }
  add(&memo, LITERAL("]}"));
  return give(built(&memo));
}

static void log_done(text zone) {
  builder line = {0};
  add(&line, LITERAL("zone "));
  add(&line, zone);
  add(&line, LITERAL(" is done"));
  strategy_string_t message = {(uint8_t *)line.at, line.length};
  replicante_playbook_logging_log(REPLICANTE_PLAYBOOK_LOGGING_LEVEL_INFO, &message);
}

static text label_of(text zone) {
  builder label = {0};
  add(&label, LITERAL("zone "));
  add(&label, zone);
  text whole = built(&label);
  size_t end = 0;
  for (size_t characters = 0; end < whole.length; end++) {
    bool begins = (whole.at[end] & 0xC0) != 0x80;
    characters += begins;
    if (characters > LABEL) break;
  }
  return (text){whole.at, end};
}

static void start(decision *made, const agents *of, text zone, size_t free_places) {
  made->start.ptr = reserve(of->number * sizeof(strategy_string_t));
  for (size_t at = 0; at < of->number && made->start.len < free_places; at++) {
    if (text_is(of->at[at].zone, zone)) made->start.ptr[made->start.len++] = of->at[at].id;
  }
  if (made->start.len == 0) return;
  made->label.is_some = true;
  made->label.val = give(label_of(zone));
}

static uint32_t less(uint32_t one, uint32_t other) { return one < other ? one : other; }

bool exports_replicante_playbook_planning_plan(
    exports_replicante_playbook_planning_plan_input_t *input, decision *made, strategy_string_t *error) {
  (void)error;
  text arguments = TEXT(input->arguments);
  replicante_playbook_roster_state_counts_t counts;
  replicante_playbook_roster_counts(&counts);
  memset(made, 0, sizeof *made);
  made->next.tag = EXPORTS_REPLICANTE_PLAYBOOK_PLANNING_NEXT_WAIT;
  if (counts.pending == 0) {
    if (counts.running == 0) made->next.tag = EXPORTS_REPLICANTE_PLAYBOOK_PLANNING_NEXT_COMPLETE;
    made->memo = give(TEXT(input->memo));
    return true;
  }

  uint32_t places = json_number(json_member(arguments, "max_parallel"), 1);
  places = less(places > counts.running ? places - counts.running : 0, input->max_start);
  text attribute = json_member(arguments, "attribute");
  builder name = {0};
  add(&name, attribute.length > 0 ? json_text(attribute) : LITERAL("zone"));
  add(&name, (text){"", 1});
  agents all = waiting(counts.pending, name.at);
  names present = zones_of(&all);
  names zones = input->memo.len > 0 ? read_memo(TEXT(input->memo)) : present;

  // A zone is left only once nothing of it is in flight. One that turned up later comes last.
  size_t first = 0;
  while (first < zones.number && !is_among(zones.at[first], &present)) {
    if (counts.running > 0) {
      made->memo = write_memo(&zones, first);
      return true;
    }
    log_done(zones.at[first++]);
  }
  if (first == zones.number) {
    zones = present;
    first = 0;
  }
  if (first < zones.number) start(made, &all, zones.at[first], places);
  made->memo = write_memo(&zones, first);
  return true;
}

void exports_replicante_playbook_planning_describe(
    exports_replicante_playbook_planning_description_t *description) {
  strategy_string_dup(&description->name, "zone-by-zone");
  strategy_string_dup(&description->version, "1.0.0");
  strategy_string_dup(&description->summary, "Goes through a cluster one zone after the other.");
  strategy_string_dup_n(&description->arguments, ARGUMENTS, sizeof ARGUMENTS);
}
