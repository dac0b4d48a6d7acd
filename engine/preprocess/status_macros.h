// Early return of errors, for parsers that would otherwise be mostly that.
#pragma once

#define CONTEXTPOOL_RETURN_IF_ERROR(expression)               \
  do {                                                        \
    if (absl::Status status_ = (expression); !status_.ok()) { \
      return status_;                                         \
    }                                                         \
  } while (false)

#define CONTEXTPOOL_CONCAT_INNER(a, b) a##b
#define CONTEXTPOOL_CONCAT(a, b) CONTEXTPOOL_CONCAT_INNER(a, b)
#define CONTEXTPOOL_ASSIGN_OR_RETURN_INNER(result, target, expression) \
  auto result = (expression);                                          \
  if (!result.ok()) return result.status();                            \
  target = *std::move(result)

// `target` is a declaration or an assignable expression.
#define CONTEXTPOOL_ASSIGN_OR_RETURN(target, expression) \
  CONTEXTPOOL_ASSIGN_OR_RETURN_INNER(CONTEXTPOOL_CONCAT(result_, __LINE__), target, expression)
