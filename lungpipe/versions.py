"""Versions of the steps that a scan goes through: raise one where the same inputs and settings give other values.

They stand here, and not in the steps' own modules, so that a process can name artefacts without loading what makes them.
"""

#: The chain of a scan (:mod:`lungpipe.scan`): how its steps follow each other, and the rows that they end in.
SCAN = "7"
#: From DICOM and volume files to HU (:mod:`lungpipe.dicom.read`).
READ = "2"
#: How arrays are stored (:mod:`lungpipe.store.volumes`).
VOLUMES = "2"
#: Lungs by lungpipe's own method (:mod:`lungpipe.region.lung`).
LUNG = "2"
#: Regions by distance from a nodule (:mod:`lungpipe.region.expand`).
REGION = "2"
#: Vessels that regions leave out (:mod:`lungpipe.region.vessels`).
VESSELS = "1"
#: Airways that regions leave out (:mod:`lungpipe.region.airways`).
AIRWAYS = "1"
#: One mask from those of all methods (:mod:`lungpipe.segment.fusion`).
FUSION = "1"
#: Regions elsewhere in the lung (:mod:`lungpipe.scan.controls`).
CONTROLS = "1"
