// The step `safe-restart`: restarts a healthy node and waits until it is healthy again.
//
// It reads like a program that runs once, from its first line to its last. In truth it runs again from
// its start after every answer, and gets the earlier answers again. So it keeps no state of its own, and
// has effects only through the calls of its world. Nothing is freed: the instance ends with the
// activation.

#include "step_text.h"

typedef exports_replicante_playbook_working_step_error_t step_error;
typedef replicante_playbook_agent_agent_error_t agent_error;

static const char ARGUMENTS[] = {
#embed "safe-restart.json"
};

static void say(const builder *line) {
  step_string_t message = lend(built(line));
  replicante_playbook_logging_log(REPLICANTE_PLAYBOOK_LOGGING_LEVEL_INFO, &message);
}

// What the agent or the playbook refuses will be refused again; anything else may succeed next time.
static bool failed(const agent_error *found, step_error *error) {
  switch (found->tag) {
  case REPLICANTE_PLAYBOOK_AGENT_AGENT_ERROR_REFUSED:
  case REPLICANTE_PLAYBOOK_AGENT_AGENT_ERROR_NOT_GRANTED:
  case REPLICANTE_PLAYBOOK_AGENT_AGENT_ERROR_INVALID:
    error->tag = EXPORTS_REPLICANTE_PLAYBOOK_WORKING_STEP_ERROR_PERMANENT;
    break;
  default:
    error->tag = EXPORTS_REPLICANTE_PLAYBOOK_WORKING_STEP_ERROR_RETRYABLE;
  }
  // Every case holds one text, in the same place.
  error->val.permanent = found->val.failed;
  return false;
}

bool exports_replicante_playbook_working_run(
    exports_replicante_playbook_working_step_input_t *input, step_string_t *result, step_error *error) {
  text arguments = TEXT(input->arguments);
  text args = json_member(arguments, "args");
  if (args.length == 0) args = LITERAL("null");
  bool only_healthy = !text_is(json_member(arguments, "only_healthy"), LITERAL("false"));
  double started = replicante_playbook_timer_now();
  agent_error found;

  replicante_playbook_agent_node_info_t node;
  if (!replicante_playbook_agent_info(&node, &found)) return failed(&found, error);
  text before = TEXT(node.status);
  if (only_healthy && !text_is(before, LITERAL("HEALTHY"))) {
    builder message = {0};
    add(&message, LITERAL("found the node "));
    add(&message, before);
    add(&message, LITERAL(" before the restart, expected HEALTHY"));
    error->tag = EXPORTS_REPLICANTE_PLAYBOOK_WORKING_STEP_ERROR_RETRYABLE;
    error->val.retryable = give(built(&message));
    return false;
  }
  builder line = {0};
  add(&line, TEXT(input->agent));
  add(&line, LITERAL(" is "));
  add(&line, before);
  add(&line, LITERAL("; restarting it"));
  say(&line);

  step_string_t kind = lend(json_text(json_member(arguments, "kind")));
  step_string_t lent = lend(args);
  step_string_t restarted;
  if (!replicante_playbook_agent_run_action(&kind, &lent, &restarted, &found)) {
    return failed(&found, error);
  }
  replicante_playbook_timer_sleep(json_number(json_member(arguments, "settle_ms"), 100));

  step_string_t healthy = lend(LITERAL("HEALTHY"));
  step_list_string_t wanted = {&healthy, 1};
  uint32_t seconds = json_number(json_member(arguments, "timeout_seconds"), 120);
  step_string_t status;
  if (!replicante_playbook_agent_wait_status(&wanted, seconds * 1000, &status, &found)) {
    return failed(&found, error);
  }
  uint64_t took = (uint64_t)(replicante_playbook_timer_now() - started);
  line.length = 0;
  add(&line, TEXT(input->agent));
  add(&line, LITERAL(" is "));
  add(&line, TEXT(status));
  add(&line, LITERAL(" after "));
  add_number(&line, took);
  add(&line, LITERAL(" ms"));
  say(&line);

  builder outcome = {0};
  add(&outcome, LITERAL("{\"before\":"));
  json_add(&outcome, before);
  add(&outcome, LITERAL(",\"after\":"));
  json_add(&outcome, TEXT(status));
  add(&outcome, LITERAL(",\"restart\":"));
  add(&outcome, TEXT(restarted));
  add(&outcome, LITERAL(",\"took_ms\":"));
  add_number(&outcome, took);
  add(&outcome, LITERAL("}"));
  *result = give(built(&outcome));
  return true;
}

void exports_replicante_playbook_working_describe(
    exports_replicante_playbook_working_description_t *description) {
  step_string_dup(&description->name, "safe-restart");
  step_string_dup(&description->version, "1.0.0");
  step_string_dup(&description->summary, "Restarts a node and waits until it is healthy again.");
  step_string_dup_n(&description->arguments, ARGUMENTS, sizeof ARGUMENTS);
}
