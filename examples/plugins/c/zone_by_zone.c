// The strategy `zone-by-zone`: goes through a cluster one zone after the other, in the order of the
// zones' names, so that it never touches two zones at a time.
//
// The order of the zones is worked out once, at the first decision of the stage, and kept in the
// memo. Each decision looks at every agent that waits, which is simple and fast enough for a few thousand.
// With `healthy`, the agents of a zone that is done are asked how they are before the next zone begins.
// Nothing is freed: the instance ends with the decision.

#include <stdlib.h>
#include <string.h>

#include "strategy.h"
#include "text.h"

typedef exports_replicante_playbook_planning_decision_t decision;

static const char ARGUMENTS[] = {
#embed "zone-by-zone.json"
};

// How many identifiers are asked for at a time.
enum { PAGE = 1000 };

// How many agents are asked at a time: the most that the host asks for one decision.
enum { ASKED = 1000 };

// How many agents that are not well a message names; the others are only counted.
enum { NAMED = 10 };

// The longest label of a batch, in characters.
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

// The agents that are being asked: when they were asked (0 if none are), and the last agent that was
// looked at before them (empty at first).
typedef struct {
  uint64_t asked;
  text after;
} look;

typedef enum { ASKING, WELL, ILL, FAILED } health;

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

// A text as it is; a number, true or false as it is written; empty for any other value.
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

// The zones of these agents, each once, in order.
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

static look read_look(text memo) {
  text found = json_member(memo, "look");
  return (look){json_number(json_member(found, "asked"), 0), json_text(json_member(found, "after"))};
}

static strategy_string_t write_memo(const names *zones, size_t first, look now) {
  builder memo = {0};
  add(&memo, LITERAL("{\"zones\":["));
  for (size_t at = first; at < zones->number; at++) {
    if (at > first) add(&memo, LITERAL(","));
    json_add(&memo, zones->at[at]);
  }
  add(&memo, LITERAL("]"));
  if (now.asked != 0) {
    add(&memo, LITERAL(",\"look\":{\"asked\":"));
    add_number(&memo, now.asked);
    add(&memo, LITERAL(",\"after\":"));
    json_add(&memo, now.after);
    add(&memo, LITERAL("}"));
  }
  add(&memo, LITERAL("}"));
  return give(built(&memo));
}

// The next agents of a zone that are done: as many as are asked at a time.
static strategy_list_string_t done_in(text zone, const char *attribute, text after) {
  strategy_list_string_t found = {reserve(ASKED * sizeof(strategy_string_t)), 0};
  strategy_string_t first = {(uint8_t *)after.at, after.length};
  strategy_string_t *last = after.length > 0 ? &first : NULL;
  strategy_list_string_t page;
  for (;;) {
    replicante_playbook_roster_page(
        REPLICANTE_PLAYBOOK_TYPES_AGENT_STATE_DONE, last, PAGE, &page);
    if (page.len == 0) return found;
    for (size_t at = 0; at < page.len; at++) {
      if (text_is(zone_of(&page.ptr[at], attribute), zone)) found.ptr[found.len++] = page.ptr[at];
      if (found.len == ASKED) return found;
    }
    last = &page.ptr[page.len - 1];
  }
}

// Adds an agent that is not well to the message. `status` follows `why`, if the agent has one.
static void add_ill(builder *told, size_t number, strategy_string_t id, text why, text status) {
  if (number > NAMED) return;
  if (number > 1) add(told, LITERAL(", "));
  add(told, TEXT(id));
  add(told, why);
  add(told, status);
}

// Judges the agents that have been asked since `asked`, and puts the others into `missed`. Adds agents that
// are ill to `told`, or the reason if the expression can't be evaluated.
static health judge(
    strategy_list_string_t *ids, strategy_string_t *healthy, uint64_t asked,
    strategy_list_string_t *missed, builder *told) {
  size_t ill = 0;
  for (size_t at = 0; at < ids->len; at++) {
    strategy_string_t *id = &ids->ptr[at];
    replicante_playbook_roster_node_view_t view = {0};
    bool known = replicante_playbook_roster_node(id, &view);
    if (!known || !view.seen_at.is_some || view.seen_at.val < (double)asked) {
      missed->ptr[missed->len++] = *id;
      continue;
    }
    if (!view.status.is_some) {
      add_ill(told, ++ill, *id, LITERAL(" did not answer"), LITERAL(""));
      continue;
    }
    bool holds = false;
    strategy_string_t why;
    if (!replicante_playbook_roster_matches(id, healthy, &holds, &why)) {
      told->length = 0;
      add(told, LITERAL("agent "));
      add(told, TEXT(*id));
      add(told, LITERAL(": "));
      add(told, TEXT(why));
      return FAILED;
    }
    if (!holds) add_ill(told, ++ill, *id, LITERAL(" is "), TEXT(view.status.val));
  }
  if (ill > NAMED) {
    add(told, LITERAL(" and "));
    add_number(told, ill - NAMED);
    add(told, LITERAL(" more"));
  }
  return ill > 0 ? ILL : WELL;
}

// Goes on with a look at the agents of a zone that are done: judges those that were asked, and has
// the next ones asked. `told` gets the agents that are ill, or why that can't be known.
static health look_at(
    text zone, const char *attribute, strategy_string_t healthy, uint64_t now, look *on, builder *told) {
  for (;;) {
    strategy_list_string_t ids = done_in(zone, attribute, on->after);
    if (ids.len == 0) return WELL;
    strategy_list_string_t missed = {reserve(ids.len * sizeof(strategy_string_t)), 0};
    if (on->asked != 0) {
      health found = judge(&ids, &healthy, on->asked, &missed, told);
      if (found != WELL) return found;
    }
    // Either no agent was asked yet, or some were done only after the others had been asked.
    strategy_list_string_t *ask = on->asked == 0 ? &ids : &missed;
    if (ask->len > 0) {
      strategy_string_t why;
      if (on->asked == 0) on->asked = now;
      if (replicante_playbook_roster_refresh(ask, &why)) return ASKING;
      add(told, TEXT(why));
      return FAILED;
    }
    *on = (look){0, TEXT(ids.ptr[ids.len - 1])};
  }
}

static void stop(decision *made, text arguments, text zone, text ill, uint32_t pending) {
  builder told = {0};
  add(&told, LITERAL("zone "));
  add(&told, zone);
  add(&told, LITERAL(" is not well: "));
  add(&told, ill);
  if (!text_is(json_text(json_member(arguments, "on_ill")), LITERAL("approval"))) {
    made->next.tag = EXPORTS_REPLICANTE_PLAYBOOK_PLANNING_NEXT_ABORT;
    made->next.val.abort = give(built(&told));
    return;
  }
  if (pending == 0) {
    add(&told, LITERAL("; end the stage all the same?"));
  } else {
    add(&told, LITERAL("; go on with the other "));
    add_number(&told, pending);
    add(&told, LITERAL("?"));
  }
  made->next.tag = EXPORTS_REPLICANTE_PLAYBOOK_PLANNING_NEXT_APPROVAL;
  made->next.val.approval = give(built(&told));
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
  text arguments = TEXT(input->arguments), memo = TEXT(input->memo);
  text healthy = json_text(json_member(arguments, "healthy"));
  replicante_playbook_roster_state_counts_t counts;
  replicante_playbook_roster_counts(&counts);
  memset(made, 0, sizeof *made);
  made->next.tag = EXPORTS_REPLICANTE_PLAYBOOK_PLANNING_NEXT_WAIT;
  if (counts.pending == 0 && (counts.running > 0 || healthy.length == 0)) {
    if (counts.running == 0) made->next.tag = EXPORTS_REPLICANTE_PLAYBOOK_PLANNING_NEXT_COMPLETE;
    made->memo = give(memo);
    return true;
  }

  text attribute = json_member(arguments, "attribute");
  builder name = {0};
  add(&name, attribute.length > 0 ? json_text(attribute) : LITERAL("zone"));
  add(&name, (text){"", 1});
  agents all = waiting(counts.pending, name.at);
  names present = zones_of(&all);
  names zones = memo.length > 0 ? read_memo(memo) : present;
  look on = read_look(memo), none = {0};

  // A zone is left only once none of its agents is in flight. A zone that turned up later comes last.
  size_t first = 0;
  while (first < zones.number && !is_among(zones.at[first], &present)) {
    if (counts.running > 0) {
      made->memo = write_memo(&zones, first, none);
      return true;
    }
    text zone = zones.at[first];
    strategy_string_t expression = {(uint8_t *)healthy.at, healthy.length};
    builder told = {0};
    health found = healthy.length == 0
        ? WELL
        : look_at(zone, name.at, expression, (uint64_t)input->now, &on, &told);
    switch (found) {
      case ASKING:
        made->next.tag = EXPORTS_REPLICANTE_PLAYBOOK_PLANNING_NEXT_WAIT_UNTIL;
        made->next.val.wait_until = input->now;
        made->memo = write_memo(&zones, first, on);
        return true;
      case ILL:
        // A person who lets the run go on is not asked about this zone again.
        made->memo = write_memo(&zones, first + 1, none);
        stop(made, arguments, zone, built(&told), counts.pending);
        return true;
      case FAILED:
        *error = give(built(&told));
        return false;
      case WELL:
        break;
    }
    on = none;
    log_done(zone);
    first++;
  }
  if (first == zones.number) {
    zones = present;
    first = 0;
  }
  if (counts.pending == 0) {
    made->next.tag = EXPORTS_REPLICANTE_PLAYBOOK_PLANNING_NEXT_COMPLETE;
  } else {
    uint32_t places = json_number(json_member(arguments, "max_parallel"), 1);
    places = less(places > counts.running ? places - counts.running : 0, input->max_start);
    if (first < zones.number) start(made, &all, zones.at[first], places);
  }
  made->memo = write_memo(&zones, first, none);
  return true;
}

void exports_replicante_playbook_planning_describe(
    exports_replicante_playbook_planning_description_t *description) {
  strategy_string_dup(&description->name, "zone-by-zone");
  strategy_string_dup(&description->version, "1.0.0");
  strategy_string_dup(&description->summary, "Goes through a cluster one zone after the other.");
  strategy_string_dup_n(&description->arguments, ARGUMENTS, sizeof ARGUMENTS);
}
