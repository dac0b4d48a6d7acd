# Finds the modules of OpenCV 4 that are asked for as COMPONENTS: OpenCV::core, OpenCV::imgcodecs, ...
#
# OpenCV's own package file comes, on Debian, with libopencv-dev alone, which needs every module and
# what those need, half a gigabyte. Here the development packages of the single modules suffice.

find_path(OpenCV_INCLUDE_DIR opencv2/core.hpp PATH_SUFFIXES opencv4)
set(_opencv_required OpenCV_INCLUDE_DIR)
foreach(_module IN LISTS OpenCV_FIND_COMPONENTS)
  find_library(OpenCV_${_module}_LIBRARY opencv_${_module})
  list(APPEND _opencv_required OpenCV_${_module}_LIBRARY)
endforeach()
mark_as_advanced(${_opencv_required})

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  OpenCV
  REQUIRED_VARS ${_opencv_required}
  REASON_FAILURE_MESSAGE "run script/bootstrap, or install libopencv-MODULE-dev for each module")

if(OpenCV_FOUND)
  foreach(_module IN LISTS OpenCV_FIND_COMPONENTS)
    if(NOT TARGET OpenCV::${_module})
      add_library(OpenCV::${_module} SHARED IMPORTED)
      set_target_properties(
        OpenCV::${_module}
        PROPERTIES IMPORTED_LOCATION "${OpenCV_${_module}_LIBRARY}"
                   INTERFACE_INCLUDE_DIRECTORIES "${OpenCV_INCLUDE_DIR}"
                   INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${OpenCV_INCLUDE_DIR}")
    endif()
  endforeach()
endif()
