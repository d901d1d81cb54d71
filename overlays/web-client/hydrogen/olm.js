// A script of its own, for Hydrogen loads it when it first needs it, and looks for it here.
import Olm from "@matrix-org/olm";

window.Olm = Olm;
