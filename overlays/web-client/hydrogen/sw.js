// Gives Hydrogen's requests for media the user's token. It must keep its name.
import "./node_modules/hydrogen-view-sdk/lib-build/sw.js";
