# What tests use from the user cache folder that script/bootstrap fills.
if(DEFINED ENV{XDG_CACHE_HOME})
  set(_cache "$ENV{XDG_CACHE_HOME}/contextpool-server")
else()
  set(_cache "$ENV{HOME}/.cache/contextpool-server")
endif()

if(NOT CONTEXTPOOL_TEST_PYTHON)
  set(CONTEXTPOOL_TEST_PYTHON
      "${_cache}/venv-test/bin/python"
      CACHE FILEPATH "Python with the packages of tests/requirements.txt" FORCE)
endif()
if(NOT CONTEXTPOOL_MINILM_DIR)
  set(CONTEXTPOOL_MINILM_DIR
      "${_cache}/models/all-MiniLM-L6-v2"
      CACHE PATH "Model directory of all-MiniLM-L6-v2" FORCE)
endif()
