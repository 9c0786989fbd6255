# SPDX-License-Identifier: Apache-2.0
# The version and the commit, for the one file that prints them. A new commit configures anew.

function(kvant_version_of source)
  execute_process(COMMAND git rev-parse --short=12 HEAD WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(failed)
    set(commit unknown)
  elseif(EXISTS ${PROJECT_SOURCE_DIR}/.git/logs/HEAD)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS .git/logs/HEAD)
  endif()
  set_source_files_properties(${source} PROPERTIES
                              COMPILE_DEFINITIONS "KVANT_VERSION=\"${PROJECT_VERSION}\";KVANT_COMMIT=\"${commit}\"")
endfunction()
