# How this project declares its targets: one static library per architectural unit, tests beside
# the path they mirror.

# contextpool_library(NAME [SRCS ...] [HDRS ...] [DEPS ...] [PRIVATE_DEPS ...])
#
# SRCS and HDRS are relative to the calling folder. DEPS are what the headers need; PRIVATE_DEPS
# what only the sources need. Every header is compiled alone by the target `verify_headers`.
function(contextpool_library NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;HDRS;DEPS;PRIVATE_DEPS" ${ARGN})
  if(ARG_SRCS)
    add_library(${NAME} STATIC ${ARG_SRCS})
    target_link_libraries(${NAME} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS} contextpool_flags)
    set(visibility PUBLIC)
  else()
    add_library(${NAME} INTERFACE)
    target_link_libraries(${NAME} INTERFACE ${ARG_DEPS})
    set(visibility INTERFACE)
  endif()
  target_include_directories(${NAME} ${visibility} ${PROJECT_SOURCE_DIR}
                                     ${PROJECT_SOURCE_DIR}/kernels/include)
  target_sources(${NAME} ${visibility} FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES
                                       ${ARG_HDRS})
  set_target_properties(${NAME} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
endfunction()

# contextpool_test(NAME SRCS ... [DEPS ...] [LABELS ...])
#
# A GoogleTest program `NAME`, one CTest entry per test case group (the program as a whole).
function(contextpool_test NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;LABELS" ${ARGN})
  add_executable(${NAME} ${ARG_SRCS})
  target_link_libraries(${NAME} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main
                                        contextpool_flags)
  target_include_directories(${NAME} PRIVATE ${PROJECT_SOURCE_DIR})
  add_test(NAME ${NAME} COMMAND ${NAME})
  set(suppressions ${PROJECT_SOURCE_DIR}/tests/sanitizers)
  set(environment
      "CONTEXTPOOL_SOURCE_DIR=${PROJECT_SOURCE_DIR}"
      # A test asks for more memory than there is.
      "ASAN_OPTIONS=allocator_may_return_null=1"
      "UBSAN_OPTIONS=print_stacktrace=1"
      "LSAN_OPTIONS=suppressions=${suppressions}/lsan.supp:print_suppressions=0"
      "TSAN_OPTIONS=suppressions=${suppressions}/tsan.supp:print_suppressions=0:ignore_noninstrumented_modules=1")
  set_tests_properties(${NAME} PROPERTIES LABELS "${ARG_LABELS}" ENVIRONMENT "${environment}")
endfunction()
