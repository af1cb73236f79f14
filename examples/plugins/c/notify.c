// The step `notify`: tells a web hook about a node, with `http` of the WIT package.
//
// The host sends the request, once it is in the journal. So the step may be activated again as often as it takes: the hook
// gets one message, which it knows by the `Idempotency-Key`. Nothing is freed: the instance ends with the activation.

#include "step_text.h"

typedef exports_replicante_playbook_working_step_error_t step_error;
typedef replicante_playbook_http_http_error_t http_error;

static const char ARGUMENTS[] = {
#embed "notify.json"
};

// How long to wait for the answer of the web hook, in milliseconds.
#define TIMEOUT 30000

// What the playbook does not grant will not be granted next time; anything else may succeed.
static bool failed(const http_error *found, step_error *error) {
  switch (found->tag) {
  case REPLICANTE_PLAYBOOK_HTTP_HTTP_ERROR_NOT_GRANTED:
  case REPLICANTE_PLAYBOOK_HTTP_HTTP_ERROR_INVALID:
    error->tag = EXPORTS_REPLICANTE_PLAYBOOK_WORKING_STEP_ERROR_PERMANENT;
    break;
  default:
    error->tag = EXPORTS_REPLICANTE_PLAYBOOK_WORKING_STEP_ERROR_RETRYABLE;
  }
  builder message = {0};
  add(&message, LITERAL("failed to reach the web hook: "));
  // Every case holds one text, in the same place.
  add(&message, TEXT(found->val.failed));
  error->val.permanent = give(built(&message));
  return false;
}

static bool may_pass(uint16_t status) {
  return status >= 500 || status == 408 || status == 425 || status == 429;
}

bool exports_replicante_playbook_working_run(
    exports_replicante_playbook_working_step_input_t *input, step_string_t *result, step_error *error) {
  text arguments = TEXT(input->arguments);
  builder message = {0};
  add(&message, LITERAL("{\"agent\":"));
  json_add(&message, TEXT(input->agent));
  add(&message, LITERAL(",\"text\":"));
  json_add(&message, json_text(json_member(arguments, "text")));
  add(&message, LITERAL("}"));
  text body = built(&message);

  step_tuple2_string_string_t header = {
      lend(LITERAL("content-type")), lend(LITERAL("application/json"))};
  replicante_playbook_http_request_t request = {
      .method = lend(LITERAL("POST")),
      .url = lend(json_text(json_member(arguments, "url"))),
      .headers = {&header, 1},
      .body = {(uint8_t *)body.at, body.length},
      .timeout = TIMEOUT,
  };
  replicante_playbook_http_response_t response;
  http_error found;
  if (!replicante_playbook_http_send(&request, &response, &found)) return failed(&found, error);

  builder said = {0};
  add(&said, LITERAL("the web hook answered "));
  add_number(&said, response.status);
  step_string_t line = lend(built(&said));
  replicante_playbook_logging_log(REPLICANTE_PLAYBOOK_LOGGING_LEVEL_INFO, &line);
  if (response.status < 200 || response.status > 299) {
    error->tag = may_pass(response.status) ? EXPORTS_REPLICANTE_PLAYBOOK_WORKING_STEP_ERROR_RETRYABLE
                                           : EXPORTS_REPLICANTE_PLAYBOOK_WORKING_STEP_ERROR_PERMANENT;
    error->val.permanent = give(built(&said));
    return false;
  }
  builder outcome = {0};
  add(&outcome, LITERAL("{\"status\":"));
  add_number(&outcome, response.status);
  add(&outcome, LITERAL(",\"answer\":"));
  json_add(&outcome, TEXT(response.body));
  add(&outcome, LITERAL("}"));
  *result = give(built(&outcome));
  return true;
}

void exports_replicante_playbook_working_describe(
    exports_replicante_playbook_working_description_t *description) {
  step_string_dup(&description->name, "notify");
  step_string_dup(&description->version, "1.0.0");
  step_string_dup(&description->summary, "Tells a web hook about a node.");
  step_string_dup_n(&description->arguments, ARGUMENTS, sizeof ARGUMENTS);
}
