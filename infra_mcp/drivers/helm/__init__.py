"""The delivery by Helm: releases rendered, judged, upgraded by `helm`, watched until landed, rolled back on failure."""
