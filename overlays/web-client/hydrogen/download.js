// In a frame without an origin, so that a file that somebody sent cannot act as this site. The SDK's own such page has its
// script within, which the content security policy forbids.
"use strict";

const link = document.getElementById("link");

function save(address, name) {
    link.href = address;
    link.download = name;
    link.click();
}

function encoded(buffer) {
    let text = "";
    for (const byte of new Uint8Array(buffer)) {
        text += String.fromCharCode(byte);
    }
    return btoa(text);
}

window.addEventListener("message", (event) => {
    if (event.origin !== window.location.origin) {
        return;
    }
    const { type, blob, buffer, mimeType, filename } = event.data;
    if (type === "downloadBlob") {
        const address = URL.createObjectURL(blob);
        save(address, filename);
        URL.revokeObjectURL(address);
    } else if (type === "downloadBuffer") {
        save(`data:${mimeType};base64,${encoded(buffer)}`, filename);
    }
});
